"""The 48 nets of five published documents in our notation, with the counts they tell and the counts they have.

Each document is a write-up of training small nets on MNIST; where its notebooks are public, the layers are theirs
("source"), else stated in the document, derived from its counts, or assumed where several layouts would fit.
"""

from dataclasses import dataclass

DOCUMENTS = {
    "000": "Batflash5/MNIST_CNN_below_25k, NN_Session_4.ipynb",
    "001": "a ten-row journey below 25k; its repository is not public",
    "002": "mohantee/CNN-MNIST",
    "003": "Krishnakanth1993/Learnings, MNIST_Model/Reference",
    "004": "nitin-vig/ERAv4S5",
}


@dataclass(frozen=True)
class Published:
    """`reported` is the count in the document or its notebook, None where there is none; `params` what forward uses."""

    id: str
    net: str
    params: int
    reported: int | None
    certainty: str
    registered: int | None = None
    note: str = ""

    @property
    def document(self) -> str:
        return DOCUMENTS[self.id[1:4]]

    @property
    def registered_params(self) -> int:
        return self.params if self.registered is None else self.registered


NET_S000_1 = "c8 r c16 r c32 r m2 c8/1 r flat fc10 ls"
NET_S000_4 = "c8 r c16 r c32 r m2 r c8/1 r c16 r flat fc10 ls"
NET_S001_1 = "c32 r c64 m2 r c128 r c256 m2 r flat fc50 r fc10 ls"
NET_S001_2 = "c16 r c28 r c32 r m2 c16/1 r c28 r flat fc50 r fc10 ls"
NET_S001_6 = "c14 r c12 r c10 r m2 c10/1 r c24 r flat fc10 ls"
NET_S002_3A = "c16 r c32 r m2 c64 r m3 flat fc65 r fc10 ls"
NET_S003_6 = "c32p1 r c32p1 r m2 c16p1 r c16p1 r m2 c8p1 r c8p1 r flat fc10 ls"
NET_S003_9 = "c32p1 bn r c32p1 bn r m2 c16p1 bn r c16p1 bn r m2 c8p1 bn r c8p1 bn r flat fc10 ls"
NET_S003_11 = "c28p1 bn r c28p1 bn r m2 c16p1 bn r c16p1 bn r m2 c8p1 bn r c8p1 bn r flat fc10 ls"

PUBLISHED = (
    Published("s000-1", NET_S000_1, 15_842, None, "assumed"),
    Published("s000-2", NET_S000_1, 15_842, None, "assumed"),
    Published("s000-3", NET_S000_1, 15_842, None, "assumed"),
    Published("s000-4", NET_S000_4, 20_290, None, "source"),
    Published("s000-5", NET_S000_4, 20_290, 20_290, "source"),
    Published("s001-1", NET_S001_1, 593_200, 593_200, "derived"),
    Published("s001-2", NET_S001_2, 130_864, 130_864, "assumed"),
    Published("s001-3", NET_S001_2, 130_864, 130_864, "assumed"),
    Published("s001-4", "c16 r c28 r c32 r m2 c16/1 r c28 r flat fc10 ls", 39_594, 39_594, "assumed"),
    Published(
        "s001-5",
        "c16 r c16 r c10 r m2 c10/1 r c24 r flat fc10 ls",
        25_674,
        25_674,
        "assumed",
        note="shown as a success, over its own limit of 25,000",
    ),
    Published("s001-6", NET_S001_6, 24_498, 24_498, "assumed"),
    Published("s001-7", NET_S001_6, 24_498, 24_498, "assumed"),
    Published("s001-8", NET_S001_6, 24_498, 24_498, "assumed"),
    Published(
        "s001-9",
        "c14 r bn c12 r bn c10 r m2 bn c10/1 r bn c24 r bn flat fc10 ls",
        24_638,
        24_498,
        "assumed",
        note="the count was not updated when batch norm came in",
    ),
    Published(
        "s001-10",
        "c14 bn r c12 bn r c10 bn r m2 c10/1 bn r c24 bn r aap9 flat fc10 ls",
        24_638,
        24_498,
        "assumed",
        note="the count was not updated when batch norm came in",
    ),
    Published("s002-1a", NET_S001_1, 593_200, 593_200, "stated"),
    Published("s002-1b", NET_S001_1, 593_200, 593_200, "stated"),
    Published("s002-1c", NET_S001_1, 593_200, 593_200, "stated"),
    Published("s002-2a", NET_S001_1, 593_200, 593_200, "stated"),
    Published("s002-2b", NET_S001_1, 593_200, 593_200, "stated"),
    Published("s002-2c", NET_S001_1, 593_200, 593_200, "stated"),
    Published("s002-2d", NET_S001_1, 593_200, 593_200, "stated"),
    Published("s002-2e", NET_S001_1, 593_200, 593_200, "stated"),
    Published("s002-2f", NET_S001_1, 593_200, 593_200, "stated"),
    Published("s002-2g", NET_S001_1, 593_200, 593_200, "stated"),
    Published("s002-3a", NET_S002_3A, 61_461, 61_461, "stated"),
    Published("s002-3b", NET_S002_3A, 61_461, 61_461, "stated"),
    Published("s002-3c", NET_S002_3A, 61_461, 61_461, "stated"),
    Published("s002-4", "c16 r m2 c32 r m3 flat fc65 r fc10 ls", 24_245, 24_245, "stated"),
    Published("s003-1", "c10 r c10 r c10 r m2 c16 r c16 r c16 r flat fc10 ls", 12_026, 12_026, "source"),
    Published("s003-2", "c10/5 r c10/5 r c10/5 r m2 c16 r c16 r c16 r flat fc10 ls", 12_026, 12_026, "source"),
    Published("s003-3", "c16 r c16 r c16 r m2 c32 r c32 r c32 r flat fc10 ls", 35_946, 35_946, "source"),
    Published("s003-4", "c32 r c32 r c32 r m2 c16 r c16 r c16 r flat fc10 ls", 32_090, 32_090, "source"),
    Published("s003-5", "c32p1 r c32p1 r c32p1 r m2 c16 r c16 r c16 r flat fc10 ls", 38_330, 38_330, "source"),
    Published("s003-6", NET_S003_6, 22_186, 22_186, "source"),
    Published("s003-7", NET_S003_6, 22_186, 22_186, "source"),
    Published("s003-8", NET_S003_6, 22_186, 22_186, "source"),
    Published("s003-9", NET_S003_9, 22_410, 22_410, "source"),
    Published("s003-10", NET_S003_9, 22_410, 22_186, "source", note="the count before batch norm, typed again"),
    Published("s003-11", NET_S003_11, 19_614, 19_614, "source"),
    Published("s003-12", NET_S003_11, 19_614, 19_614, "source"),
    Published(
        "s003-13",
        "c28p1 bn r c28p1 bn r m2 c16p1 bn r c16p1 bn r m2 c8p1 bn r c8p1 bn r do.5 flat fc10 ls",
        19_614,
        22_186,
        "source",
        note="the count of another net, typed again",
    ),
    Published(
        "s003-14",
        "c28p1 bn r c28p1 bn r m2 do.25 c16p1 bn r c16p1 bn r m2 do.25 c8p1 bn r c8p1 bn r do.25 flat fc10 ls",
        19_614,
        19_614,
        "source",
    ),
    Published("s003-15", NET_S003_11, 19_614, 19_614, "source"),
    Published(
        "s003-16",
        "c28p1 bn r c28p1 bn r m2 do.3 c16p1 bn r c16p1 bn r m2 do.3 c8p1 bn r c8p1 bn r do.3 flat fc10 ls",
        19_614,
        19_614,
        "source",
    ),
    Published(
        "s003-17",
        "c14p1 bn r c14p1 bn r c14p1 bn r m2 do.1 c24p1 bn r c24p1 bn r m2 do.1 "
        "c16p1 bn r c16p1 bn r unused(c16p1 bn) gap flat do.1 fc50 r fc10 ls",
        19_348,
        19_348,
        "stated",
        registered=21_700,
        note="a conv and its batch norm are registered and never called",
    ),
    Published(
        "s003-18",
        "c14p1 bn r c14p1 bn r c14p1 bn r m2 do.15 c24p1 bn r c24p1 bn r m2 do.15 "
        "c16p1 bn r c16p1 bn r unused(c16p1 bn) gap flat do.15 fc50 r fc10 ls",
        19_348,
        19_348,
        "stated",
        registered=21_700,
        note="a conv and its batch norm are registered and never called",
    ),
    Published(
        "s004-1",
        "c4 bn r c8 bn r m2 c16 bn r c32 bn r m2 flat fc25 r do.3 fc10 ls",
        19_349,
        19_349,
        "source",
        registered=19_389,
        note="a batch norm over 20 features is registered and never called",
    ),
)
