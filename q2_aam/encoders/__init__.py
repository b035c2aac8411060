"""Encoders that come with the package: what they are called, where they lie, and whether they are whole.

Each is a bundle in a folder of its name beside this file, with SOURCES.md (what it learned from, citations, licences).
A newer encoder gets a new name, and old names stay.
"""

import pathlib

from q2_aam import bundle
from q2_aam.data.atomic import hash_file
from q2_aam.errors import UserError

FOLDER = pathlib.Path(__file__).parent
# SHA-256 of the card of each, by its name: the card vouches for config.json, and that for the weights.
CARDS = {
    'v4': '24f10ffb3387429a91ca0c20af141fc0d76c8cfa8e139f96e253fbfc6e96959d',
    'v4.1': 'a347b27b3d7a70509d4ee79522bcf80338af9eaddb165e09035669ac34d8d69b',
}
# What auto stands for.
NEWEST = 'v4.1'


def path_of(name: str) -> pathlib.Path:
    """Return the folder of an encoder.

    Raises
    ------
    UserError
        If it is not there, or not as it was released.
    """
    folder = FOLDER / name
    try:
        if hash_file(folder / bundle.CARD_FILE) != CARDS[name]:
            raise ValueError(f'{bundle.CARD_FILE} is another one')
        bundle.check(folder)
    except (OSError, ValueError) as error:
        raise UserError(
            f'The encoder {name} that comes with q2-aam is damaged: its files are not those that were released; '
            'install q2-aam again.'
        ) from error
    return folder
