"""The questions of one track to the grounder: about the whole frame or a window around the last box."""

import numpy as np

from data_prep.contract.contract import Contract
from data_prep.contract.crops import crop_template, template_box
from data_prep.contract.windows import search_window
from data_prep.geometry import Box
from infer.trackers.requests import Locate

# Sides of the window as a multiple of those of the last box, where the setting is null.
SEARCH_REGION = 3.0


class TrackQuestions:
    """Builds the questions of a track. Its only state is the template, which is cut once."""

    def __init__(self, expression: str, contract: Contract, search_region: float | None = None) -> None:
        """`search_region` is the size of windows as a multiple of the last box; 0: there are none; None: by
        the contract.
        """
        self.expression, self.contract = expression, contract
        # Published weights were trained to search whole frames, or a crop of their own.
        by_contract = SEARCH_REGION if contract.search_sizes else 0.0
        self.search_region = by_contract if search_region is None else search_region
        self.template: np.ndarray | None = None
        self.template_box: Box | None = None

    def cut_template(self, frame: np.ndarray, box_xyxy: Box) -> None:
        """Cut the template out of the frame in which the target was found first."""
        if self.template is None:
            self.template = crop_template(frame, box_xyxy, self.contract)
            self.template_box = template_box(box_xyxy, self.contract)

    @property
    def is_marked(self) -> bool:
        """Whether a question with the last box differs from one without it."""
        return self.contract.form(self.template is not None, True).is_marked

    def whole(
        self,
        last_box: Box | None = None,
        draft: Box | None = None,
        accept_draft_from: float | None = None,
        region: Box | None = None,
    ) -> Locate:
        """A question about the current frame, with the target's last box and a draft if they are known."""
        return Locate(
            self.expression, self.template, last_box, self.template_box, draft, accept_draft_from, region
        )

    def near(
        self, frame: np.ndarray, last_box: Box, draft: Box, accept_draft_from: float | None = None
    ) -> Locate:
        """A question about the window around the last box.

        It is about the whole frame, with the last box, where there is no window (`search_window`), or where
        the contract cuts a search crop of its own.
        """
        window = None
        if self.search_region and not self.contract.form(self.template is not None, True).is_cropped:
            size = (frame.shape[1], frame.shape[0])
            window = search_window(last_box, size, self.contract, self.search_region)
        # A rectangle around the last box would be as large as the window.
        is_drawn = window is not None and self.contract.draws_prompt
        return self.whole(None if is_drawn else last_box, draft, accept_draft_from, window)
