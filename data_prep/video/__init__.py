"""Frames of videos: image files, folders of them, video files and animated images, read in order."""
