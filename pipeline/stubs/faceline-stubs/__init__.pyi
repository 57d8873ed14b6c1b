# What type checkers read for an installed `faceline`: a single module can't carry the marker py.typed (PEP 561).
from cache.errors import BundleError as BundleError
from cache.errors import CacheError as CacheError
from cache.errors import DataError as DataError
from cache.errors import DetectionError as DetectionError
from cache.errors import FacelineError as FacelineError
from cache.errors import UsageError as UsageError
from detect import FaceDetector as FaceDetector
from detect import Faces as Faces
from pipeline.prediction.prediction import Prediction as Prediction
from pipeline.prediction.prediction import PredictionList as PredictionList
from pipeline.prediction.prediction import TaskPrediction as TaskPrediction
from pipeline.prediction.predictor import Predictor as Predictor

__version__: str
