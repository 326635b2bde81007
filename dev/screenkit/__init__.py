"""Pictures of what people see: the wizards on a real terminal, before a real daemon and engine."""
