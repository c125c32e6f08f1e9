"""VOTSr workspaces: the format of the referral challenge of the VOT toolkit (0.9.0), read and written.

Where the toolkit decides what a workspace means (which frames exist, what a prompt is, how a mask line is
read), this package decides in the same way and says so at that place. Where the toolkit ignores a fault,
this package reports it. The toolkit (GPL-3) is only run or imported, and imported late, since that takes a
second.
"""
