"""The page that a sweep comes to, from its files alone, at any time.

    python -m resnet_jax.report runs/shortcuts

`folders` finds the sweeps, `read` their runs, `paired` compares them, `tables` and
`figures` show them, `page` says what a page is made of, `html` and `markdown` render it, `write`
puts it on the disk. Nothing here needs JAX.
"""
