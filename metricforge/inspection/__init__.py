"""A dataset looked at before a run: broken images, copies, samplers that can't work with it."""
