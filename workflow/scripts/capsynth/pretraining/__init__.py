"""How the embedded captioner and generator are made: from the captioned web, on a CPU."""
