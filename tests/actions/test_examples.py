"""The usage examples run."""

from qiime2.plugin.testing import TestPluginBase


class TestExamples(TestPluginBase):
    package = 'q2_aam'

    def test_usage_examples_of_every_action_run(self):
        self.execute_examples()
