"""Inference methods, by class or by lower-case name."""

from bnnrl import _moved
from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Diverged, Info, Method, OptimizationMethod, innermost
from bnnrl.inference.bbb import BBB
from bnnrl.inference.bsam import BSAM
from bnnrl.inference.by_name import Run, ShortRunWarning, for_run
from bnnrl.inference.csgld import CyclicalSGLD
from bnnrl.inference.driver import Driver
from bnnrl.inference.dropout import MCDropout
from bnnrl.inference.ensemble import Ensemble
from bnnrl.inference.gauss_newton import GaussNewton
from bnnrl.inference.gradient_chain import CurvatureStep
from bnnrl.inference.hmc import HMC
from bnnrl.inference.ivon import IVON
from bnnrl.inference.laplace import Laplace
from bnnrl.inference.mclmc import MCLMC
from bnnrl.inference.nuts import NUTS
from bnnrl.inference.ray_driver import RayDriver
from bnnrl.inference.recommendation import Recommendation, recommend
from bnnrl.inference.registry import REGISTRY, get
from bnnrl.inference.sampler import Sampler
from bnnrl.inference.schedules import Polynomial, Schedule
from bnnrl.inference.sgd import SGD
from bnnrl.inference.sghmc import SGHMC
from bnnrl.inference.sgld import PSGLD, SGLD
from bnnrl.inference.svgd import SVGD
from bnnrl.inference.swag import SWAG
from bnnrl.inference.vadam import VADAM
from bnnrl.inference.vbll import VBLL
from bnnrl.inference.warm_start import WarmStart
from bnnrl.storage import config

__getattr__ = _moved.lookup(__name__)

config.register(*REGISTRY.values(), CurvatureStep, Polynomial, Schedule, WarmStart)

__all__ = [
    "BBB",
    "BSAM",
    "HMC",
    "IVON",
    "MCLMC",
    "NUTS",
    "PSGLD",
    "REGISTRY",
    "SGD",
    "SGHMC",
    "SGLD",
    "SVGD",
    "SWAG",
    "VADAM",
    "VBLL",
    "Adam",
    "CurvatureStep",
    "CyclicalSGLD",
    "Diverged",
    "Driver",
    "Ensemble",
    "GaussNewton",
    "Info",
    "Laplace",
    "MCDropout",
    "Method",
    "OptimizationMethod",
    "Polynomial",
    "RayDriver",
    "Recommendation",
    "Run",
    "Sampler",
    "Schedule",
    "ShortRunWarning",
    "WarmStart",
    "for_run",
    "get",
    "innermost",
    "recommend",
]
