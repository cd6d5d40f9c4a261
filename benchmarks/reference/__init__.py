"""What one writes where no package offers it: plain loops with autograd, and schemes as papers print them."""
