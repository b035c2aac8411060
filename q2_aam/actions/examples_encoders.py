"""Usage examples of encoders that come with the plugin."""


def load_encoder_example(use):
    (encoder,) = use.action(
        use.UsageAction(plugin_id='aam', action_id='load_encoder'),
        use.UsageInputs(name='v4.1'),
        use.UsageOutputNames(encoder='encoder'),
    )

    encoder.assert_output_type('AAMEncoder')
    encoder.assert_has_line_matching(path='card.json', expression=r'^ "kind": "encoder",$')
