"""From a model's own sequential chains to examples with parallel threads, as ThreadWeaver has them.

Lian et al. 2025 (arXiv 2512.07843), section 4 and appendix C. A chain is read (chain.py), a teacher
says what its steps depend on (analysis.py), steps that need nothing of each other become blocks
(blocks.py), which get outlines (outlines.py) and threads that stand alone (rewriting.py); what is
left is served once (serving.py), checked and written down (example.py). Self-training keeps what an
evaluation made (selftraining.py).
"""
