"""How right the models are: one module per judgement, each measuring its card's figures on data it has not seen."""
