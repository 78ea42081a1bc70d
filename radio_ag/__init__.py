"""radio-ag"""
