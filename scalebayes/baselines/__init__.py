"""The field's own point estimates: log-Huber fits, lower envelopes and isoFLOP parabolas."""
