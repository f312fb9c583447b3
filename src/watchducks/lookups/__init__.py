"""Looking into the public DNS: what a domain holds before its name servers are changed, and where.

Questions of our own on the reactor; dnspython is the codec, and never opens a socket.
"""
