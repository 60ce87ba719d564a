"""What there is to know of each data set: parts, classes, who is in it, licence and citation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DIGITS = tuple(str(digit) for digit in range(10))
ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GERMAN = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
COMMANDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go",
    "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila",
    "six", "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip
"""The words of SSC, in alphabetical order; a file's own ``/extra/keys`` say which label is which."""
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
GESTURES = (
    "hand clapping", "right hand wave", "left hand wave", "right arm clockwise",
    "right arm counter-clockwise", "left arm clockwise", "left arm counter-clockwise", "arm roll",
    "air drums", "air guitar", "other gestures",
)  # fmt: skip
PICTURES = (
    "BACKGROUND_Google", "Faces_easy", "Leopards", "Motorbikes", "accordion", "airplanes", "anchor", "ant",
    "barrel", "bass", "beaver", "binocular", "bonsai", "brain", "brontosaurus", "buddha", "butterfly",
    "camera", "cannon", "car_side", "ceiling_fan", "cellphone", "chair", "chandelier", "cougar_body",
    "cougar_face", "crab", "crayfish", "crocodile", "crocodile_head", "cup", "dalmatian", "dollar_bill",
    "dolphin", "dragonfly", "electric_guitar", "elephant", "emu", "euphonium", "ewer", "ferry", "flamingo",
    "flamingo_head", "garfield", "gerenuk", "gramophone", "grand_piano", "hawksbill", "headphone", "hedgehog",
    "helicopter", "ibis", "inline_skate", "joshua_tree", "kangaroo", "ketch", "lamp", "laptop", "llama",
    "lobster", "lotus", "mandolin", "mayfly", "menorah", "metronome", "minaret", "nautilus", "octopus",
    "okapi", "pagoda", "panda", "pigeon", "pizza", "platypus", "pyramid", "revolver", "rhino", "rooster",
    "saxophone", "schooner", "scissors", "scorpion", "sea_horse", "snoopy", "soccer_ball", "stapler",
    "starfish", "stegosaurus", "stop_sign", "strawberry", "sunflower", "tick", "trilobite", "umbrella",
    "watch", "water_lilly", "wheelchair", "wild_cat", "windsor_chair", "wrench", "yin_yang",
)  # fmt: skip
SPOKEN_DIGITS = ("o", "1", "2", "3", "4", "5", "6", "7", "8", "9", "z")
LETTERS = ("Space", *(chr(letter) for letter in range(ord("A"), ord("Z") + 1)))


@dataclass(frozen=True)
class About:
    """What there is to know of a data set before it is opened.

    Attributes
    ----------
    title : str
        Its name.
    class_names : tuple of str
        Its classes; empty for a layout that anyone's recordings may be in.
    splits : mapping of str to int or None
        The official parts, the one for training first, and how many recordings they have; None where that is
        not said. Empty if there are none.
    groups : str
        What `SpikeDataset.groups` tells apart: ``'speaker'``, ``'subject'``, or nothing.
    licence : str
        The licence of the recordings.
    bibtex : str
        What to cite.
    page : str
        Where it is from.
    recordings : int or None
        How many there are, where there are no parts and it is known.
    """

    title: str
    class_names: tuple[str, ...]
    licence: str
    bibtex: str = ""
    splits: Mapping[str, int | None] = field(default_factory=dict)
    groups: str = ""
    page: str = ""
    recordings: int | None = None

    def lines(self) -> dict[str, str]:
        """Return what there is to know in words.

        Returns
        -------
        dict of str
            A line, or for ``'cite'`` several, for each thing.

        Examples
        --------
        >>> ABOUT["ssc"].lines()["parts"]
        'train 75,466, valid 9,981, test 20,382'
        """
        parts = ", ".join(f"{part} {size:,}" if size else part for part, size in self.splits.items())
        found = {
            "data set": self.title,
            "classes": f"{len(self.class_names)}: {', '.join(self.class_names)}" if self.class_names else "",
            "recordings": f"{self.recordings:,}" if self.recordings else "",
            "parts": parts,
            "grouped by": self.groups,
            "licence": self.licence,
            "cite": self.bibtex,
            "page": self.page,
        }
        return {what: line for what, line in found.items() if line}


def bibtex(kind: str, key: str, **fields: str) -> str:
    """Write an entry of a bibliography.

    Parameters
    ----------
    kind : str
        What it is, such as ``'article'``.
    key : str
        Its name.
    **fields : str
        Its fields.

    Returns
    -------
    str
        The entry.

    Examples
    --------
    >>> print(bibtex("misc", "a2020", author="A. A.", title="B", year="2020"))
    @misc{a2020,
      author = {A. A.},
      title = {B},
      year = {2020},
    }
    """
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}}}"


CRAMER = bibtex(
    "article", "cramer2022heidelberg",
    author="Cramer, Benjamin and Stradmann, Yannik and Schemmel, Johannes and Zenke, Friedemann",
    title="The {Heidelberg} Spiking Data Sets for the Systematic Evaluation of Spiking Neural Networks",
    journal="IEEE Transactions on Neural Networks and Learning Systems",
    volume="33", number="7", pages="2744--2757", year="2022",
)  # fmt: skip
ORCHARD = bibtex(
    "article", "orchard2015converting",
    author="Orchard, Garrick and Jayawant, Ajinkya and Cohen, Gregory K. and Thakor, Nitish",
    title="Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades",
    journal="Frontiers in Neuroscience", volume="9", pages="437", year="2015",
)  # fmt: skip
WARDEN = bibtex(
    "article", "warden2018speech", author="Warden, Pete",
    title="Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition",
    journal="arXiv:1804.03209", year="2018",
)  # fmt: skip
ALPAYDIN = bibtex(
    "misc", "alpaydin1998optical", author="Alpaydin, E. and Kaynak, C.",
    title="Optical Recognition of Handwritten Digits", howpublished="UCI Machine Learning Repository",
    year="1998",
)  # fmt: skip
ZENKE = bibtex(
    "article", "zenke2021remarkable", author="Zenke, Friedemann and Vogels, Tim P.",
    title="The Remarkable Robustness of Surrogate Gradient Learning for Instilling Complex Function in "
    "Spiking Neural Networks",
    journal="Neural Computation", volume="33", number="4", pages="899--925", year="2021",
)  # fmt: skip
OWN = "that of the recordings"
FREE = "none needed: generated"

ABOUT = {
    "digits": About(
        "handwritten digits of scikit-learn before a simulated event camera", DIGITS, "CC BY 4.0", ALPAYDIN,
        page="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        recordings=1_797,
    ),
    "shd": About(
        "Spiking Heidelberg Digits", ENGLISH + GERMAN, "CC BY 4.0", CRAMER, {"train": 8_156, "test": 2_264},
        "speaker", "https://zenkelab.org/datasets/",
    ),
    "ssc": About(
        "Spiking Speech Commands", COMMANDS, "CC BY 4.0", f"{CRAMER}\n{WARDEN}",
        {"train": 75_466, "valid": 9_981, "test": 20_382}, "speaker", "https://zenkelab.org/datasets/",
    ),
    "nmnist": About(
        "N-MNIST", DIGITS, "CC BY-SA 4.0", ORCHARD, {"train": 60_000, "test": 10_000},
        page="https://doi.org/10.17632/468j46mzdv.1",
    ),
    "ncaltech101": About(
        "N-Caltech101", PICTURES, "CC BY 4.0", ORCHARD, page="https://doi.org/10.17632/cy6cvx3ryv.1",
    ),
    "dvs_gesture": About(
        "DVS128 Gesture", GESTURES, "CC BY 4.0",
        bibtex(
            "inproceedings", "amir2017low",
            author="Amir, Arnon and Taba, Brian and Berg, David and others",
            title="A Low Power, Fully Event-Based Gesture Recognition System",
            booktitle="IEEE Conference on Computer Vision and Pattern Recognition", pages="7243--7252",
            year="2017",
        ),
        {"train": 1_176, "test": 288}, "subject", "https://research.ibm.com/interactive/dvsgesture/",
    ),
    "ntidigits": About(
        "N-TIDIGITS18", SPOKEN_DIGITS, "of the recordings' authors; TIDIGITS: Linguistic Data Consortium",
        bibtex(
            "article", "anumula2018feature",
            author="Anumula, Jithendar and Neil, Daniel and Delbruck, Tobi and Liu, Shih-Chii",
            title="Feature Representations for Neuromorphic Audio Spike Streams",
            journal="Frontiers in Neuroscience", volume="12", pages="23", year="2018",
        ),
        {"train": None, "test": None}, "speaker",
        "https://docs.google.com/document/d/1Uxe7GsKKXcy6SlDUX4hoJVAC0-UkH-8kr5UXp0Ndi1M",
    ),
    "braille": About(
        "tactile Braille letters", LETTERS, "CC BY 4.0",
        bibtex(
            "article", "muellercleve2022braille",
            author="Müller-Cleve, Simon F. and Fra, Vittorio and Khacef, Lyes and others",
            title="Braille Letter Reading: A Benchmark for Spatio-Temporal Pattern Recognition on "
            "Neuromorphic Hardware",
            journal="Frontiers in Neuroscience", volume="16", pages="951164", year="2022",
        ),
        page="https://doi.org/10.5281/zenodo.7050094", recordings=1_350,
    ),
    "mnist": About(
        "MNIST, coded as spikes", DIGITS, "CC BY-SA 3.0",
        bibtex(
            "article", "lecun1998gradient",
            author="LeCun, Yann and Bottou, Léon and Bengio, Yoshua and Haffner, Patrick",
            title="Gradient-Based Learning Applied to Document Recognition",
            journal="Proceedings of the IEEE", volume="86", number="11", pages="2278--2324", year="1998",
        ),
        {"train": 60_000, "test": 10_000}, page="http://yann.lecun.com/exdb/mnist/",
    ),
    "fashion_mnist": About(
        "Fashion-MNIST, coded as spikes", CLOTHES, "MIT",
        bibtex(
            "article", "xiao2017fashion", author="Xiao, Han and Rasul, Kashif and Vollgraf, Roland",
            title="Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
            journal="arXiv:1708.07747", year="2017",
        ),
        {"train": 60_000, "test": 10_000}, page="https://github.com/zalandoresearch/fashion-mnist",
    ),
    "randman": About(
        "Randman, spike times on random smooth manifolds", DIGITS, FREE, ZENKE,
        {"train": None, "test": None},
    ),
    "shd_like": About(
        "generated words with the statistics of SHD", tuple(f"word {k}" for k in range(20)), FREE, CRAMER,
        {"train": None, "test": None}, "speaker",
    ),
    "nmnist_like": About(
        "generated digits with the statistics of N-MNIST", DIGITS, "CC BY 4.0", f"{ALPAYDIN}\n{ORCHARD}",
        {"train": None, "test": None},
    ),
    "store": About("spike store", (), OWN),
    "spikes": About("HDF5 file in the layout of SHD", (), OWN, groups="speaker"),
    "audio": About("spoken words through the model of the ear", (), OWN, CRAMER, groups="speaker"),
    "recordings": About("folder of event files", (), OWN, groups="subject"),
}  # fmt: skip
"""What there is to know of each data set, and of layouts of anyone's recordings, by name."""
