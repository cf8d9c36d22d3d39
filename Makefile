# Few words: what they do is one line each. `go run ./cmd/permledger demo` and `go test ./...` need no make.

.PHONY: run test ci demo

run: ## a ledger in ./ledger-data on 127.0.0.1:8080
	go run ./cmd/permledger serve --data ledger-data

demo: ## the whole story in a temporary directory
	go run ./cmd/permledger demo

test:
	go test ./...

ci: ## everything the project is checked with
	.ci/run
