"""Mail: letters that lie in the registry become messages, and are sent.

``composing`` makes a message of a letter, ``smtp`` gives it to a mail server, ``courier`` is the
part that takes letters and sends them, ``assembly`` chooses by ``mail.url`` how.
"""
