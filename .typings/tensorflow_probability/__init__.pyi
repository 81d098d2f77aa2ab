# This package loads its API lazily and ships no usable types; what a checker infers of it is mostly wrong.
from typing import Any

def __getattr__(name: str) -> Any: ...
