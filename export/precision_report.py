"""What the change of precision did to a file; both records are parts of the parity report."""

from pydantic import BaseModel


class HalfPrecisionReport(BaseModel):
    """How many operators compute in float16, and how many in float32, by reason."""

    float16_operators: int
    float32_operators: dict[str, int]


class BlockSensitivity(BaseModel):
    """A block of the network, and how well the labels agree with the float32 file's on the ranking pictures.

    `agreement_alone`: when it is int8 and the rest float32. `error_alone`: root mean square error of the logits then,
    as a share of their root mean square. `agreement_when_kept`: when this block and all worse ones are float16 and the
    others int8; None where the search, a bisection, did not try it. `macs_share`: of all multiply-accumulates in
    convolutions.
    """

    name: str
    convolutions: int
    macs_share: float
    agreement_alone: float
    error_alone: float
    kept: bool
    agreement_when_kept: float | None


class Int8Report(BaseModel):
    """How the int8 convolutions were chosen, and what they cost.

    `agreement`: equal labels of the delivered file and the published network in PyTorch, over all calibration pictures;
    it must be at least `min_agreement`. `held_out_agreement`: the same over pictures that had no part in it. Both are
    None until they are measured, the second also where there were too few pictures to hold any out.
    `float16_agreement`: when no block is int8. `naive_agreement`: when all of them are.
    `depthwise_convolutions` are left in float16: they wait for memory, int8 products do not make them faster.
    `never_int8`: convolutions whose input has no usable range, with the reason.
    `blocks`: the worst first.
    """

    passed: bool
    min_agreement: float
    agreement: float | None
    held_out_agreement: float | None
    float16_agreement: float
    naive_agreement: float
    int8_convolutions: int
    convolutions: int
    depthwise_convolutions: int
    int8_macs_share: float
    never_int8: dict[str, str]
    blocks: list[BlockSensitivity]
    calibration_pictures: list[str]
    ranking_pictures: list[str]
    held_out_pictures: list[str]
    skipped_pictures: list[str]
    pictures_found: int
