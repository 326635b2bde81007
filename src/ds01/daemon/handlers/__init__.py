"""One module for each noun: from a call to a service and back to a document."""
