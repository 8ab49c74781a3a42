def options(r,s): yield from ()
def requests(r,s): yield from ()
