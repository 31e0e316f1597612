"""Why a request was a miss: its nearest recorded request, how the two differ, and which setting would help."""
