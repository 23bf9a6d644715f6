// Package e2e tests bimambad as others meet it: the program as it is shipped, asked by the clients that people use.
//
// It is a module of its own, so that those clients stay out of the graph of the daemon's module. scripts/clients.sh runs its tests, and those of the
// daemon's page in folder web.
//
// The models are the default one and small ones of random weights: what those say is noise, but how they say it is not.
package e2e
