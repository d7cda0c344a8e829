"""Free emoji art as a data set: pictures, the looks they are given and the words for them."""
