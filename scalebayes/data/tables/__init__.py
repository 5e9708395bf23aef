"""Reading a table: files of the usual kinds, columns, units, and the checks of rows and cells."""
