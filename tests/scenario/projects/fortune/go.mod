module example.com/fortune

go 1.24
