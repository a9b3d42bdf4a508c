"""Sentences to features: tokenisers and encoders that read folders of BERT and RoBERTa, and a small one of ours."""
