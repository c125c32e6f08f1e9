"""VOTSr in and out: the referral challenge of the VOT toolkit (0.9.0).

The layout is the toolkit's. Where it decides what a workspace means (which frames exist, what a prompt
is, how a mask line reads), this package decides the same way, and says so in the line above; where it
stays silent about a fault, this package speaks. The toolkit itself (GPL-3) is only ever run or imported,
lazily, since importing it takes a second.
"""
