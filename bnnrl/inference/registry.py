"""The inference methods by lower-case name."""

from __future__ import annotations

from dataclasses import fields

from bnnrl.checks import nearest
from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Method, as_method
from bnnrl.inference.bbb import BBB
from bnnrl.inference.bsam import BSAM
from bnnrl.inference.csgld import CyclicalSGLD
from bnnrl.inference.dropout import MCDropout
from bnnrl.inference.ensemble import Ensemble
from bnnrl.inference.gauss_newton import GaussNewton
from bnnrl.inference.hmc import HMC
from bnnrl.inference.ivon import IVON
from bnnrl.inference.laplace import Laplace
from bnnrl.inference.mclmc import MCLMC
from bnnrl.inference.nuts import NUTS
from bnnrl.inference.sgd import SGD
from bnnrl.inference.sghmc import SGHMC
from bnnrl.inference.sgld import PSGLD, SGLD
from bnnrl.inference.svgd import SVGD
from bnnrl.inference.swag import SWAG
from bnnrl.inference.vadam import VADAM
from bnnrl.inference.vbll import VBLL

REGISTRY: dict[str, type] = {
    "sgd": SGD,
    "adam": Adam,
    "ensemble": Ensemble,
    "dropout": MCDropout,
    "swag": SWAG,
    "laplace": Laplace,
    "gauss_newton": GaussNewton,
    "vbll": VBLL,
    "bbb": BBB,
    "vadam": VADAM,
    "bsam": BSAM,
    "ivon": IVON,
    "svgd": SVGD,
    "sgld": SGLD,
    "psgld": PSGLD,
    "csgld": CyclicalSGLD,
    "sghmc": SGHMC,
    "hmc": HMC,
    "nuts": NUTS,
    "mclmc": MCLMC,
}


def get(method: str | Method, /, **hyper_parameters) -> Method:
    """Return an inference method by its name and hyper-parameters, or the instance given.

    Args:
        method: a name in the registry, in any case, or an instance of a method.
        **hyper_parameters: fields of the named method; the others have their defaults.

    Raises:
        ValueError: for an unknown name of a method or hyper-parameter, whose message lists the nearest names; for an
            object that is not a method; for hyper-parameters together with an instance.
    """
    if isinstance(method, str):
        if method.lower() == "gp":
            raise ValueError(
                f"Invalid `method`: expected one of {sorted(REGISTRY)}. Received: {method!r}, a Gaussian process, "
                "which has no network: it is a model of dynamics only, bnnrl.Dynamics(method='gp')."
            )
        if method.lower() not in REGISTRY:
            near = nearest(method, REGISTRY)
            raise ValueError(f"Invalid `method`: expected one of {sorted(REGISTRY)}. Received: {method!r}.{near}")
        cls = REGISTRY[method.lower()]
        known = [field.name for field in fields(cls)]
        for name in hyper_parameters:
            if name not in known:
                raise ValueError(
                    f"Invalid hyper-parameter of {method!r}: expected one of {known}. Received: {name!r}."
                    f"{nearest(name, known)}"
                )
        return cls(**hyper_parameters)
    method = as_method(method, expected=f"an instance such as Adam(), or one of {sorted(REGISTRY)}")
    if hyper_parameters:
        raise ValueError(
            f"Invalid hyper-parameters: expected them inside the method's instance. Received: {method!r} and "
            f"{hyper_parameters}. Use dataclasses.replace(method, ...)."
        )
    return method
