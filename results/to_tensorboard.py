"""A run as TensorBoard's event file: the one file that imports tensorboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import PreflightError
from .metrics import compute
from .points import facts_of, points_of
from .run import RunFolder


def write(folder: RunFolder, to: str) -> int:
    """Write the run into a folder of its own below `to`; gives the number of points.

    Raises:
        PreflightError: tensorboard is not installed.
        ResultsInvalid: the run cannot be read.
        OSError: the folder cannot be written.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise PreflightError("TensorBoard is not installed.", why=str(error), fix="pip install tensorboard") from error
    metrics = compute(folder)
    place = Path(to) / folder.run_id
    if place.exists():
        for old in place.glob("events.out.tfevents.*"):
            old.unlink()
    writer: Any = EventFileWriter(str(place))
    number = 0
    try:
        for point in points_of(folder, metrics):
            value = Summary.Value(tag=point.name, simple_value=point.value)
            writer.add_event(Event(wall_time=point.unix_ns / 1e9, step=point.step, summary=Summary(value=[value])))
            number += 1
        rows = "\n".join(f"| {name} | {value.replace('|', ' ')} |" for name, value in facts_of(metrics).items())
        text = TensorProto(dtype=DT_STRING, string_val=[f"| what | value |\n|---|---|\n{rows}".encode()])
        about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        value = Summary.Value(tag="run", metadata=about, tensor=text)
        writer.add_event(Event(wall_time=metrics.launched_unix_ns / 1e9, step=0, summary=Summary(value=[value])))
    finally:
        writer.close()
    return number
