"""The peers, each as a process of its own: started by kinds.py, in the environment that places.py made."""
