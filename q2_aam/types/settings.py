"""Settings as an artifact: the parameters that a search found, as JSON."""

from qiime2.plugin import ValidationError, model

from q2_aam.config.search import SETTINGS_FILE, read_settings

# More is no settings.
MAX_BYTES = 2**20


class AAMSettingsFormat(model.TextFileFormat):
    """JSON: format_version, kind of the model, whether it starts from an encoder, and parameters of its fit."""

    def _validate_(self, level):
        try:
            with self.open() as handle:
                text = handle.read(MAX_BYTES + 1)
        except UnicodeDecodeError:
            raise ValidationError('The settings are not UTF-8 text.') from None
        if len(text) > MAX_BYTES:
            raise ValidationError(f'The settings are larger than {MAX_BYTES:,} characters.')
        try:
            read_settings(text)
        except ValueError as error:
            raise ValidationError(str(error)) from error


AAMSettingsDirectoryFormat = model.SingleFileDirectoryFormat(
    'AAMSettingsDirectoryFormat', SETTINGS_FILE, AAMSettingsFormat
)
