"""The site's rules: policy, limits, sections about the site, and who may do what."""
