module ambientd.test/app

go 1.26
