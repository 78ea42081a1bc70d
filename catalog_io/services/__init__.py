"""Surveys whose images come from a service: what there is (`surveys`), and one module for each way of asking."""
