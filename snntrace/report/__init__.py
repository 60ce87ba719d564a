"""What the compiler found and decided: as text, tables, data and a picture."""

from snntrace.report.approximation import Approximation as Approximation
from snntrace.report.explanation import Explanation as Explanation
from snntrace.report.report import ProductPath as ProductPath
from snntrace.report.report import Report as Report
from snntrace.report.routes import ParameterRoute as ParameterRoute
