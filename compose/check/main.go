// Reads compose files as Docker Compose does, strictly, and says what is wrong with them: no engine is needed.
//
//	go run . ../compose.yaml ../compose.nodes.yaml
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func main() {
	failed := false
	for _, file := range os.Args[1:] {
		problems := check(file)
		for _, problem := range problems {
			fmt.Fprintf(os.Stderr, "%s: %s\n", file, problem)
			failed = true
		}
		if len(problems) == 0 {
			fmt.Printf("%s: good\n", file)
		}
	}
	if failed || len(os.Args) < 2 {
		os.Exit(1)
	}
}

// What every file must have beyond being understood: images of a fixed tag, a probe of each service that lasts, ports on loopback or
// at an address that somebody chose, and files that are there.
func check(file string) []string {
	options, err := cli.NewProjectOptions([]string{file},
		cli.WithEnv([]string{"NODE_NAME=second", "ELASTICSEARCH_URL=http://elasticsearch.example:9200"}),
		cli.WithInterpolation(true),
		cli.WithNormalization(true),
		cli.WithConsistency(true),
		cli.WithResolvedPaths(true),
	)
	if err != nil {
		return []string{err.Error()}
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return []string{err.Error()}
	}
	var problems []string
	for name, service := range project.Services {
		say := func(format string, values ...any) {
			problems = append(problems, name+": "+fmt.Sprintf(format, values...))
		}
		if service.Build == nil && !pinned(service.Image) {
			say("image %q has no fixed tag", service.Image)
		}
		if service.Build != nil {
			for _, needed := range []string{service.Build.Context, filepath.Join(service.Build.Context, service.Build.Dockerfile)} {
				if _, err := os.Stat(needed); err != nil {
					say("%v", err)
				}
			}
		}
		lasts := service.Restart != "no" && service.Restart != ""
		if lasts && (service.HealthCheck == nil || service.HealthCheck.Disable) {
			say("it lasts and has no healthcheck")
		}
		for _, port := range service.Ports {
			if port.HostIP == "" || port.HostIP == "0.0.0.0" {
				say("port %s is published on every address", port.Published)
			}
		}
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind {
				if _, err := os.Stat(volume.Source); err != nil {
					say("%v", err)
				}
			}
		}
		for key, value := range service.Environment {
			if value != nil && strings.Contains(strings.ToLower(key), "password") && !strings.HasPrefix(*value, "/run/secrets/") {
				say("%s is given in the open", key)
			}
		}
	}
	return problems
}

func pinned(image string) bool {
	_, tag, found := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return found && tag != "latest" && strings.ContainsAny(tag, "0123456789")
}
