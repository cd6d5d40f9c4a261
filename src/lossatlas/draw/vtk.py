"""Surfaces as VTK PolyData in XML, which ParaView opens."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from lossatlas.arrays import Array


def quads(whole: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the corners (m, 4) of the cells of a grid whose four points are there."""
    number = np.arange(whole.size).reshape(whole.shape)
    corners = (np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, 1:], np.s_[1:, :-1])
    kept = np.logical_and.reduce([whole[corner] for corner in corners])
    return np.stack([number[corner][kept] for corner in corners], axis=-1)


def write_polydata(
    path: Path, points: Array, cells: NDArray[Any], columns: Mapping[str, Array], scalars: str, titles: Sequence[str]
) -> None:
    """Write points (n, 3), quadrilaterals (m, 4) of their numbers and values (n,) of each point by name.

    Args:
        path: the file.
        points: (n, 3).
        cells: (m, 4).
        columns: name -> (n,).
        scalars: which of them colours the surface at first.
        titles: texts kept in the field data ``titles``, and in a comment at the head.
    """

    def array(values: NDArray[Any], name: str, kind: str, components: int = 1) -> str:
        data = np.ascontiguousarray(values).tobytes()
        text = base64.b64encode(len(data).to_bytes(8, "little") + data).decode()
        count = f' NumberOfComponents="{components}"' if components > 1 else ""
        return f'<DataArray type="{kind}" Name="{name}"{count} format="binary">{text}</DataArray>'

    values = "".join(array(np.asarray(column, np.float64), name, "Float64") for name, column in columns.items())
    ends = 4 * np.arange(1, len(cells) + 1)
    names = "\0".join(titles) + "\0"
    codes = " ".join(str(byte) for byte in names.encode())
    path.write_text(
        '<?xml version="1.0"?>\n'
        f"<!-- {escape(', '.join(titles)).replace('--', '- -')} -->\n"
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64"><PolyData>'
        f'<FieldData><Array type="String" Name="titles" NumberOfTuples="{len(titles)}" format="ascii">{codes}</Array>'
        "</FieldData>"
        f'<Piece NumberOfPoints="{len(points)}" NumberOfVerts="0" NumberOfLines="0" NumberOfStrips="0" '
        f'NumberOfPolys="{len(cells)}"><PointData Scalars="{scalars}">{values}</PointData>'
        f"<Points>{array(points.astype(np.float64), 'Points', 'Float64', 3)}</Points>"
        f"<Polys>{array(cells.astype(np.int64).ravel(), 'connectivity', 'Int64')}"
        f"{array(ends.astype(np.int64), 'offsets', 'Int64')}</Polys></Piece></PolyData></VTKFile>\n",
        encoding="utf-8",
    )
