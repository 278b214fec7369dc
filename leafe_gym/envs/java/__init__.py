"""What environments share whose game runs in a Java process.

runtime.py      locations of Java and of a package's jar, with messages that say what to install
process.py      starting and ending the process
py4j_client.py  calls into Java over a socket
"""
