"""Memory policies: which frames the memory of a target keeps (`mask_head.memory=`). Imports no torch."""
