module bimamba/neon/gen/arm64

go 1.26.0
