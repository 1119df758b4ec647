"""Compiled kernels: numba, with a cache on disk that knows every source a kernel is made of.

numba's own cache asks only a kernel's own file whether it changed, not the kernels of other files that it inlines:
after an update a stale kernel would go on running, silently. Here a compiled kernel is kept under the digest of its
module and of all that it imports, below `$XDG_CACHE_HOME/bloom-roots`, so that every process, environment and checkout
with the same code shares it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import caching, cgutils, types
from numba.extending import intrinsic

from roots import code_digest

inlined = numba.njit(inline="always")  # for a few lines that stand inside other kernels


def compiled(function: Callable[..., Any]) -> Any:
    """A function on numpy arrays as machine code that holds no lock of the interpreter (numba.njit, nogil)."""
    dispatcher = numba.njit(nogil=True)(function)
    dispatcher._cache = _Cache(function)
    return dispatcher


@intrinsic
def prefetch(_typing: Any, array: Any, _index: Any) -> Any:
    """In a kernel, `prefetch(array, i)`: have the memory of row i brought near, without waiting for it; i is inside."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[0]
        inside = context.make_array(kind)(context, builder, values[0])
        row = [values[1], *[ir.Constant(values[1].type, 0)] * (kind.ndim - 1)]
        place = cgutils.get_item_pointer(context, builder, kind, inside, row)
        address = builder.bitcast(place, ir.PointerType(ir.IntType(8)))
        word = ir.IntType(32)
        ask = ir.FunctionType(ir.VoidType(), [address.type, word, word, word])
        # to read, to be kept in all caches, data
        builder.call(
            cgutils.get_or_insert_function(builder.module, ask, "llvm.prefetch.p0"),
            [address, word(0), word(3), word(1)],
        )
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def cache_folder() -> Path:
    """Where compiled kernels are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bloom-roots" / "kernels"


class _Locator(caching._CacheLocator):
    """Says where a kernel is kept: in the folder of its module's digest. So what is found there is never stale."""

    def __init__(self, function: Callable[..., Any], file: str):
        self._py_file = file  # numba names it in its warnings
        self._line = function.__code__.co_firstlineno
        self._digest = code_digest.of(function.__module__)

    def get_cache_path(self) -> str:
        return str(cache_folder() / self._digest[:16])

    def get_source_stamp(self) -> str:
        return self._digest

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> _Locator | None:
        found = cls(function, file)
        try:
            found.ensure_cache_path()
        except OSError:
            return None  # a read-only home: numba's own places are tried
        return found


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator, *caching.CompileResultCacheImpl._locator_classes]  # noqa: RUF012


class _Cache(caching.FunctionCache):
    _impl_class = _Implementation
