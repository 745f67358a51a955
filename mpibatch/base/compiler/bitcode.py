"""Functions that are part of others: their code is handed on as LLVM's text, of which no machine code is made.

numba optimizes each function with all that it calls, makes machine code of it, and does so again for whatever calls it.
Of a function that compiled ones alone call, which has no way in from Python, nothing but the text is ever used. It is
optimized by itself all the same: a loop over a few arrays becomes vectors there, which LLVM refuses once it is part of
a loop over many (`scripts/bench_filters.py` shows it in `gaussian_filter`).
"""

from __future__ import annotations

import copy
import functools
from typing import Any

__all__ = ["link_only", "link_what_is_loaded"]


def link_only(dispatcher: Any) -> None:
    """Let this function be translated as part of what calls it, and not by itself."""
    compiler = dispatcher._compiler
    pipeline = getattr(compiler, "pipeline_class", None)
    if pipeline is None:  # no part of numba's interface
        return

    def compile_extra(self: Any, function: Any) -> Any:
        state = self.state
        state.library, state.flags.no_compile = _library(state.targetctx, function.__qualname__), True
        result = pipeline.compile_extra(self, function)._replace(entry_point=object())  # what it is known by
        state.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
        return result

    compiler.pipeline_class = type(pipeline.__name__, (pipeline,), {"compile_extra": compile_extra})


def link_what_is_loaded(dispatcher: Any) -> None:
    """Do so with what its cache holds, too."""
    implementation = getattr(dispatcher._cache, "_impl", None)
    if implementation is not None and getattr(dispatcher._compiler, "pipeline_class", None) is not None:
        implementation.rebuild = functools.partial(_rebuilt, implementation.rebuild)


def _library(context: Any, name: str) -> Any:
    """A library of numba's that is done once it is linked."""
    library = context.codegen().create_library(name)

    def finish() -> None:
        library._finalize_dynamic_globals()
        library._verify_declare_only_symbols()
        library._finalized = True

    library._finalize_final_module = finish
    library.serialize_using_object_code = library.serialize_using_bitcode
    return library


def _rebuilt(rebuild: Any, context: Any, payload: Any) -> Any:
    """What numba's cache makes of what it holds, without machine code."""
    (name, kind, code), *_ = payload
    text = code[1] if kind == "object" else code  # machine code, too, from where this was not done

    class Codegen:
        def unserialize_library(self, _state: Any) -> Any:
            from llvmlite import binding

            library = _library(context, name)
            library._final_module = binding.parse_bitcode(text)
            library._finalized = True
            return library

    ours = copy.copy(context)
    ours.codegen, ours.get_executable = Codegen, lambda *_: object()  # what it is known by
    *rest, _environments = payload  # places in machine code
    result = rebuild(ours, (*rest, ()))
    return result._replace(target_context=context)
