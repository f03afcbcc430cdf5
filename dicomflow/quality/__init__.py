"""The data-quality report: what is in a dataset, how complete and plausible it is, on one page.

    questions  a dataset's columns -> SQL that fits them
    figures    numbers with the SQL that they came from
    measure    a dataset -> a ``QualityReport``: asks all questions
    runs       run records -> a table that SQL can ask
    sections   how each figure is shown
    view       figures -> labels that are safe to show, cells that can be added up
    charts     what is drawn; the one door to Bokeh
    page       a ``QualityReport`` -> one HTML file; the one door to Jinja2

Numbers are aggregates: of the values of headers only manufacturers, models and modalities are named, never those of a patient.
"""
