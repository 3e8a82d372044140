"""The list of rows: each a function of a program, with a name, and the languages that it is written for."""
ROWS = []
BOTH = ('c', 'c++')


def row(name, languages=BOTH):
    def enter(function):
        ROWS.append((name, languages, function))
        return function
    return enter
