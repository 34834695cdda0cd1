"""Programs that imitate OpenPBS: there is no package of a real one."""
