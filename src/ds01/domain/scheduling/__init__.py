"""Who gets which devices when: the board, the ledger, the queue, reservations, and the planner over them."""
