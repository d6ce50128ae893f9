"""No command: `python -m resnet_jax.train` names the one that trains; see training/train.py."""

if __name__ == "__main__":
  from resnet_jax.__main__ import refer

  refer()
