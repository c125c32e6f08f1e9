"""The mask head: a box becomes a mask, and the mask is carried from frame to frame through a memory."""
