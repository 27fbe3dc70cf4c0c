def page(found, uncovered, versions):
    return ""
